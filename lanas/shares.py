"""The interval of a share that was counted: of right answers, of networks inside a budget."""


def wilson(count: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Wilson's interval of the share count / n, its ends 0 to 1.

    ValueError where count is not 0 to n, or n is none.
    """
    from scipy.stats import binomtest  # slow to import

    found = binomtest(count, n).proportion_ci(level, method="wilson")
    return float(found.low), float(found.high)
