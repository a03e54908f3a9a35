"""Each rule of the contract finds the space that breaks it, and says where."""

from pathlib import Path

import pytest

from lanas.errors import UserError
from supernet.rules import RULES, Finding, Subject, build, findings, require_basics, space
from supernet.spaces import build as built
from supernet.spaces import specify
from tests.own import FIVE, write
from tests.scripts import answer

BY_NAME = {rule.__name__: rule for rule in RULES}


def subject(path: Path) -> Subject:
    return Subject(specify(str(path), (3, 8, 8), 10))


def broken(path: Path, rule: str) -> Finding:
    """What is found when only that rule, and those that make its subject, are tried."""
    wanted = dict.fromkeys([space, build, BY_NAME[rule]])
    *before, last = findings(subject(path), list(wanted))
    assert not [finding for finding in before if finding.broken]
    assert last.rule == rule and last.asks
    assert last.broken, f"{rule} holds"
    assert "\n" not in last.broken
    return last


@pytest.mark.parametrize(
    ("rule", "changes", "says"),
    [
        ("space", [('Space("tiny", (a, b))', "[a, b]")], "gives list, needed is a Space"),
        ("space", [('Space("tiny", (a, b))', 'Space("tiny", ())')], "no choices"),
        ("space", [('Choice("a", ("one"', 'Choice("a", ("two"')], "ValueError: choice 'a'"),
        (
            "encode",
            [('"two"))\n', '"two"), np.array([[1, 0], [0, np.nan]]))\n')],
            "not finite; at a=two",
        ),
        (
            "encode",
            [
                ("def space():", "class S(Space):\n    def encode(self, archs):\n"
                 "        return super().encode(archs)[:, 1:]\n\n\ndef space():"),
                ('return Space("', 'return S("'),
            ],
            "3], needed is [n, width] [",
        ),
        (
            "encode",
            [
                ("def space():", "class S(Space):\n    def encode(self, archs):\n"
                 "        return np.eye(2)[self.as_array(archs)].reshape(-1, 4)\n\n\ndef space():"),
                ('return Space("', 'return S("'),
            ],
            "not active alone; at a=one",
        ),
        ("canonical", [("(a, b))", "(a, b), lambda archs: 1 - archs)")], "gives [0 0], and of "),
        ("canonical", [("(a, b))", "(a, b), lambda archs: archs + 5)")], "a is 6, allowed is 0"),
        ("canonical", [("(a, b))", "(a, b), lambda archs: archs[:, :1])")], "canonical is ["),
        ("words", [('Choice("b"', 'Choice("b,c"')], "no choice 'b'"),
        ("build", [("nn.Linear(4, spec.outputs)", "nn.Linear(4, 1 // 0)")], "ZeroDivisionError"),
        ("build", [("(self, space, spec)", "(self, space)")], "called as Supernet(space, spec)"),
        ("build", [("__init__(space, spec)\n", "__init__()\n")], "'space' and 'spec' (tiny.py"),
        ("spec", [("__init__(space, spec)\n", "__init__(space, space)\n")], "net.spec is Space("),
        ("spec", [("__init__(space, spec)\n", "__init__([], spec)\n")], "net.space is not"),
        (
            "spec",
            [("(4, spec.outputs)", "(4, spec.outputs, bias=not str(self.a['one'][0].weight.device)"
              ".startswith('meta'))")],
            "head.bias is (10,), and absent when built again",
        ),
        (
            "fix",
            [("for names, i in zip(self.names", 'for names, i in zip((("one", "two"), "xy")')],
            "KeyError: 'one' (tiny.py line 29); at a=two",
        ),
        ("forward", [("return self.head(x.mean((2, 3)))", "return x")], "needed is [3, 10]; at a="),
        ("forward", [("arch=None", "*, arch=None")], "TypeError"),
        ("forward", [("x.mean((2, 3))", "x.mean((0, 2, 3)).expand(len(x), 4)")], "in a batch"),
        ("forward", [("x.mean((2, 3))", "x.mean((2, 3)) / 0")], "not finite"),
        (
            "stateless",
            [
                ("        self.names =", "        self.runs = 0\n        self.names ="),
                ("return self.head(", "self.runs += 1\n        return self.runs * self.head("),
            ],
            "run again, after others",
        ),
        (
            "inherit",
            [
                ("{name: conv(4, name)", "{name + str(len(used)): conv(4, name)"),
                ("self.b[b]", "self.b[b + str(len(self.b))]"),
            ],
            "the network has 'b.y1.0.weight', the supernet does not; at a=two,b=y",
        ),
        ("equal", [("self.a[a](x).relu()", "self.a[a](x).relu() * len(self.a)")], "they differ by"),
        (
            "gradients",
            [("self.a[a](x).relu()", "sum(self.a[o](x) * float(o == a) for o in self.a)")],
            "a.one.0.weight, a.one.0.bias, a.one.1.weight is not of the path",
        ),
        ("path", [('if "two" in self.names[0] else ()', "")], "b.x.0.weight, b.x.0.bias, b.x.1.we"),
        ("costs", FIVE, "c0 x c1 x c2 x c3 x c4 cost something together"),
        ("export", [("x = self.a[a](x).relu()", "x = self.a[a](x)\n        x = x if "
                     "float(x.sum()) > 9 else x.relu()")], "; at a="),
    ],
)  # fmt: skip
def test_a_space_that_breaks_a_rule(
    tmp_path: Path, rule: str, changes: list[tuple[str, str]], says: str
) -> None:
    assert says in (broken(write(tmp_path, *changes), rule).broken or "")


def test_every_rule_has_a_space_that_breaks_it() -> None:
    (mark,) = test_a_space_that_breaks_a_rule.pytestmark  # type: ignore[attr-defined]
    assert {case[0] for case in mark.args[1]} == set(BY_NAME)


def test_a_space_that_keeps_them_all(tmp_path: Path) -> None:
    done = answer("supernet.rules.__main__", write(tmp_path), "--image-size", 8)
    assert (done.status, done.err) == (0, "")
    *lines, last = done.out.splitlines()
    assert [line.split()[:2] for line in lines] == [["holds", name] for name in BY_NAME]
    assert last.endswith(f"tiny.py keeps all {len(RULES)} rules")


def test_later_rules_are_not_run_without_a_network(tmp_path: Path) -> None:
    path = write(tmp_path, ("__init__(space, spec)\n", "__init__([], spec)\n"))
    done = answer("supernet.rules.__main__", path, "--image-size", 8)
    assert (done.status, done.err) == (1, "")
    assert [line.split()[0] for line in done.out.splitlines()[:-1]] == (
        ["holds"] * 5 + ["BROKEN"] + ["not"] * 9
    )
    assert done.out.splitlines()[-1].endswith("tiny.py breaks 1 of 15 rules: spec")


@pytest.mark.parametrize("name", ["nb201", "macro"])
def test_a_built_in_space_keeps_the_basics(name: str) -> None:
    given = specify(name, (3, 16, 16), 5, 4, 1)
    net = built(given)
    before = {key: value.clone() for key, value in net.state_dict().items()}
    require_basics(given, net)
    assert net.training
    assert all(value.equal(before[key]) for key, value in net.state_dict().items())


def test_the_first_broken_rule_is_named_when_training_starts(tmp_path: Path) -> None:
    path = write(tmp_path, ("return self.head(x.mean((2, 3)))", "return x"))
    s = subject(path)
    says = r"tiny.py' breaks the rule forward: .*\[3, 10\].*at a=.*supernet.rules .*tiny.py tries"
    with pytest.raises(UserError, match=says):
        require_basics(s.spec, built(s.spec))
