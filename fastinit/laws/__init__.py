"""The laws: small frozen values that say what to draw, with their moments, support and distribution function."""

from fastinit.laws.blocks import Blocks as Blocks
from fastinit.laws.copied import Copy as Copy
from fastinit.laws.given import Given as Given
from fastinit.laws.independent import Constant as Constant
from fastinit.laws.independent import Laplace as Laplace
from fastinit.laws.independent import Normal as Normal
from fastinit.laws.independent import TruncatedNormal as TruncatedNormal
from fastinit.laws.independent import Uniform as Uniform
from fastinit.laws.law import Element as Element
from fastinit.laws.law import KernelArguments as KernelArguments
from fastinit.laws.law import Law as Law
from fastinit.laws.mamba import LogOfUniform as LogOfUniform
from fastinit.laws.mamba import StepBias as StepBias
from fastinit.laws.patterns import Dirac as Dirac
from fastinit.laws.patterns import GateBias as GateBias
from fastinit.laws.patterns import Identity as Identity
from fastinit.laws.patterns import StateLogs as StateLogs
from fastinit.laws.planar import ComplexNormal as ComplexNormal
from fastinit.laws.planar import ComplexTruncatedNormal as ComplexTruncatedNormal
from fastinit.laws.planar import ComplexUniform as ComplexUniform
from fastinit.laws.replayed import Replayed as Replayed
from fastinit.laws.structured import DeltaOrthogonal as DeltaOrthogonal
from fastinit.laws.structured import Orthogonal as Orthogonal
from fastinit.laws.structured import Padded as Padded
from fastinit.laws.structured import Sparse as Sparse
