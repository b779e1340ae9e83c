"""The laws: small frozen values that say what to draw, with their moments, support and distribution function."""

from fastinit.laws.independent import Constant as Constant
from fastinit.laws.independent import Normal as Normal
from fastinit.laws.independent import TruncatedNormal as TruncatedNormal
from fastinit.laws.independent import Uniform as Uniform
from fastinit.laws.law import Draw as Draw
from fastinit.laws.law import Element as Element
from fastinit.laws.law import Law as Law
