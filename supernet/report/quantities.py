"""What measurements are called on axes and in words, with their units."""

from dataclasses import dataclass

from supernet.report import tables


@dataclass(frozen=True)
class Quantity:
    """A measurement by its name: title of an axis with the unit, and what a value is multiplied by.

    unit: behind a number in a sentence; digits: behind its point.
    """

    name: str
    title: str
    factor: float
    unit: str
    digits: int

    def __call__(self, value: float | None) -> str:
        """`98.05 %`, `12.3 MMACs`."""
        if value is None:
            return "-"
        space = " " if self.unit else ""
        return f"{self.factor * value:,.{self.digits}f}{space}{self.unit}"


TITLES = {
    "macs": ("multiply-accumulates, millions", "MMACs", 2),
    "params": ("parameters, thousands", "k params", 1),
    "memory": ("peak activation memory, MiB", "MiB", 3),
    "latency": ("latency, ms (predicted)", "ms", 3),
    "measured_latency": ("latency, ms (measured)", "ms", 3),
    "energy": ("energy, mJ (predicted)", "mJ", 3),
    "measured_energy": ("energy, mJ (measured)", "mJ", 3),
    "accuracy": ("accuracy, %", "%", 2),
    "miou": ("mean IoU, %", "%", 2),
    "soft": ("probability of the right class, %", "%", 2),
}
COSTS = tuple(tables.COSTS)


def quantity(name: str) -> Quantity:
    """How a measurement is shown; one without a rule under its own name, without a unit."""
    title, unit, digits = TITLES.get(name, (name.replace("_", " "), "", 4))
    return Quantity(name, title, tables.shown(name).factor, unit, digits)
