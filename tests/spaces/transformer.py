"""A small vision transformer (arXiv 2010.11929) in which everything is elastic.

Searched are the embedding, the number of layers, and of each layer its heads and the hidden size of
its perceptron. Embedding times heads and embedding times hidden size are what a layer costs, where
the depth has it. Layer norms only: no statistics belong to a path.
"""

from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from lanas.errors import UserError
from lanas.space import Arch, Choice, Space
from supernet import network
from supernet.layers.elastic import (
    ElasticAttention,
    ElasticLayerNorm,
    ElasticLinear,
    ElasticPositions,
)
from supernet.network import NetworkSpec

PATCH, HEAD = 4, 4  # pixels of a patch's side; size of a head
EMBEDDINGS, HEADS, HIDDEN, DEPTHS = ("8", "12", "16"), ("1", "2", "4"), ("8", "16", "32"), "123"


def space() -> Space:
    """Embedding, depth, and the heads and hidden size of each layer that the depth has."""
    choices = [
        Choice("embedding", EMBEDDINGS, ordered=True),
        Choice("depth", tuple(DEPTHS), ordered=True),
    ]
    for layer in range(1, len(DEPTHS) + 1):
        deep = tuple(depth for depth in DEPTHS if int(depth) >= layer)
        when = None if layer == 1 else ("depth", deep)
        choices.append(Choice(f"heads{layer}", HEADS, when=when, ordered=True))
        choices.append(Choice(f"hidden{layer}", HIDDEN, when=when, ordered=True))
    return Space("transformer", tuple(choices))


class Layer(nn.Module):
    """Attention and perceptron, each behind a norm and beside a skip."""

    def __init__(self, embedding: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = ElasticLayerNorm(embedding), ElasticLayerNorm(embedding)
        self.attention = ElasticAttention(embedding, heads, HEAD)
        self.enter, self.leave = ElasticLinear(embedding, hidden), ElasticLinear(hidden, embedding)

    def forward(self, x: Tensor, heads: int, hidden: int) -> Tensor:
        x = x + self.attention(self.norm1(x), heads)
        wide = F.gelu(self.enter(self.norm2(x), hidden))
        out: Tensor = x + self.leave(wide, x.shape[-1])
        return out


class Supernet(network.Supernet):
    @classmethod
    def check_inputs(cls, space: Space, spec: NetworkSpec) -> None:
        if spec.inputs[1] % PATCH or spec.inputs[2] % PATCH:
            raise UserError(f"{space.name} takes sides that are multiples of {PATCH}")

    def __init__(self, space: Space, spec: NetworkSpec) -> None:
        super().__init__(space, spec)
        self.options = {c.name: [int(option) for option in c.options] for c in space.choices}
        channels, height, width = spec.inputs
        most = max(self.options["embedding"])
        self.enter = ElasticLinear(channels * PATCH**2, most)
        self.positions = ElasticPositions(height // PATCH * (width // PATCH), most)
        self.layers = nn.ModuleList(
            Layer(most, max(self.options[f"heads{n}"]), max(self.options[f"hidden{n}"]))
            for n in range(1, max(self.options["depth"]) + 1)
        )
        self.norm = ElasticLayerNorm(most)
        self.head = ElasticLinear(most, spec.outputs)

    def chosen(self, arch: Arch) -> dict[str, int]:
        """The value of each choice."""
        return {
            name: values[i] for (name, values), i in zip(self.options.items(), arch, strict=True)
        }

    def forward(self, x: Tensor, arch: Arch | None = None) -> Tensor:
        chosen = self.chosen(self.space.only() if arch is None else arch)
        x = F.unfold(x, PATCH, stride=PATCH).transpose(1, 2)  # [n, tokens, channels * PATCH**2]
        x = self.positions(self.enter(x, chosen["embedding"]))
        for n, layer in enumerate(list(self.layers)[: chosen["depth"]], 1):
            x = layer(x, chosen[f"heads{n}"], chosen[f"hidden{n}"])
        logits: Tensor = self.head(self.norm(x).mean(1))
        return logits

    def drawing(self, arch: Arch) -> dict[str, Any]:
        chosen = self.chosen(arch)
        blocks = []
        for n in range(1, chosen["depth"] + 1):
            blocks += [f"attention {chosen[f'heads{n}']}", f"perceptron {chosen[f'hidden{n}']}"]
        return {"kind": "chain", "stages": [{"width": chosen["embedding"], "blocks": blocks}]}
