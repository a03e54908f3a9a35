"""Each rule of the contract finds the space that breaks it, and says where."""

from pathlib import Path

import pytest

from lanas.errors import UserError
from supernet.rules import RULES, Finding, findings, require_basics
from supernet.rules.of_network import build
from supernet.rules.of_space import space
from supernet.rules.subject import Subject
from supernet.spaces import build as built
from supernet.spaces import names, specify
from tests.families import slowly
from tests.own import FIVE, write
from tests.scripts import answer

SPACES = Path(__file__).parent / "spaces"
BY_NAME = {rule.__name__: rule for rule in RULES}


FAMILIES = {  # each as small as it can be, and images of its data
    "nb201": ((3, 8, 8), 2, 1, {}),
    "macro": ((3, 8, 8), 2, 1, {}),
    "nasnet": ((3, 8, 8), 2, 1, {}),
    "mbconv": ((3, 24, 24), 0.1, 1, {"resolutions": [16, 24]}),
    "sizes": ((3, 8, 8), None, 1, {}),
    str(SPACES / "transformer.py"): ((3, 8, 8), None, None, {}),
}


def method(text: str) -> tuple[str, str]:
    """A change that adds a method to the supernet."""
    return "    def forward(", f"{text}\n    def forward("


@pytest.mark.parametrize("name", slowly(FAMILIES))
def test_every_space_keeps_every_rule(name: str) -> None:
    inputs, width, depth, options = FAMILIES[name]
    given = Subject(specify(name, inputs, 5, width, depth, options), most=8)
    broken = {finding.rule: finding.broken for finding in findings(given) if finding.broken}
    assert broken == {}


def test_every_family_is_tried() -> None:
    assert {name for name in FAMILIES if name.isidentifier()} == set(names())


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
        (
            "calibrate",
            [method("    def calibrate(self, arch, batches):\n"
                    "        for b in batches:\n            self.train()(b, arch)\n")],
            "calibrate left , a, a.one in training mode; at a=",
        ),
        (
            "calibrate",
            [method("    def calibrate(self, arch, batches):\n        for b in batches:\n"
                    "            self.train()(b, arch)\n            self.eval()\n")],
            "calibrated again, behind another, it differs by",
        ),
        (
            "calibrate",
            [method("    def calibrate(self, arch, batches):\n"
                    "        self.a['one'][1].running_mean.add_(1)\n"
                    "        self.a['two'][1].running_mean.add_(1)\n")],
            "_mean, not of the path; at a=",
        ),
        (
            "calibrate",
            [method("    def calibrate(self, arch, batches):\n"
                    "        self.head.bias.zero_()\n")],
            "changed parameters: head.bias",
        ),
        (
            "calibrate",
            [method("    def needs_calibration(self):\n        return False\n")],
            "needs_calibration() is False",
        ),
        (
            "groups",
            [method("    def weight_groups(self):\n"
                    "        return {'a': list(self.parameters()), 'b': [self.head.bias]}\n")],
            "head.bias is there 2 times",
        ),
        (
            "groups",
            [method("    def weight_groups(self):\n"
                    "        return {'a': [*self.parameters(), nn.Linear(1, 1).weight]}\n")],
            "1 parameters in it are not of the network",
        ),
        (
            "drawing",
            [method("    def drawing(self, arch):\n        return {'kind': 'tree'}\n")],
            "its kind is 'tree', known are chain and cells",
        ),
        (
            "drawing",
            [method("    def drawing(self, arch):\n        return {'kind': 'cells', 'cells': "
                    "{'c': {'nodes': ['a'], 'edges': [['a', 'b', 'x']]}}, 'stages': []}\n")],
            "cell c has no edge ['a', 'b', 'x']",
        ),
        (
            "drawing",
            [method("    def drawing(self, arch):\n"
                    "        return {'kind': 'chain', 'stages': ({'width': 4, 'blocks': []},)}\n")],
            "not the same after JSON",
        ),
        (
            "drawing",
            [method("    def drawing(self, arch):\n        return {'kind': 'chain', 'stages': "
                    "[{'width': arch[0], 'blocks': []}]}\n")],
            "is drawn otherwise; at a=two",
        ),
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
        ["holds"] * 5 + ["BROKEN"] + ["not"] * 12
    )
    assert done.out.splitlines()[-1].endswith("tiny.py breaks 1 of 18 rules: spec")


def test_a_network_is_as_it_was_after_the_basics() -> None:
    given = specify("nb201", (3, 16, 16), 5, 4, 1)
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
