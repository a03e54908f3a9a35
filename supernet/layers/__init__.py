"""Operations and elastic layers that families share; none is searchable by itself."""

from supernet.layers.elastic import ElasticBatchNorm2d, ElasticConv2d, ElasticLinear
from supernet.layers.operations import DropPath

__all__ = ["DropPath", "ElasticBatchNorm2d", "ElasticConv2d", "ElasticLinear"]
