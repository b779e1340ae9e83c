"""The numbers of the stream fastinit-1, frozen: a change of one is another stream. Block sizes are in blocking.py.

Every polynomial is printed by ci/polynomials.py, which derives it; docs/stream.md has the same numbers in hex.
"""

import numpy as np

# Philox4x32-10: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC'11.
MULTIPLIER_0, MULTIPLIER_1 = 0xD2511F53, 0xCD9E8D57
WEYL_0, WEYL_1 = 0x9E3779B9, 0xBB67AE85
ROUNDS = 10

# What the high byte of counter word 1 says a word is for.
DOMAIN_ELEMENT, DOMAIN_LOW, DOMAIN_SPARSE, DOMAIN_ORTHOGONAL = 0, 1, 2, 3

LANES = 16  # counters in a group
GROUP = 64  # elements in a group: four words of each counter

MINUS_2_LN_2 = -1.3862943611198906

SMALLEST_32 = np.float32(2.0**-126)  # the smallest normal float32: no tail probability is smaller
HALF_32 = np.float32(0.5 - 2.0**-25)  # the largest float32 below 1/2: at 1/2 itself zero would be an atom

# The largest numbers below 1: the logarithm of 1 itself would be an atom at zero.
BELOW_ONE_32, BELOW_ONE_64 = np.float32(1.0 - 2.0**-24), 1.0 - 2.0**-53

# Below this tail probability the inverse may need its far half (w >= 5.3, p = 0.00125); above, it never does.
DEEP_TAIL_32 = np.float32(0.00126)

# The same for float64: beyond r = 5, that is p = e^-25 = 1.39e-11.
DEEP_TAIL_64 = 1.4e-11

# sin(pi t / 4) / t in t^2; largest relative error 2.8e-8.
SIN_32 = (
    np.float32(0.7853982),
    np.float32(-0.08074583),
    np.float32(0.0024910164),
    np.float32(-3.660915e-05),
)

# cos(pi t / 4) in t^2; largest relative error 3.94e-8.
COS_32 = (
    np.float32(1.0),
    np.float32(-0.3084244),
    np.float32(0.01585015),
    np.float32(-0.00031897702),
)

# sin(pi t / 4) / t in t^2; largest relative error 3.9e-17.
SIN_64 = (
    0.7853981633974483,
    -0.0807455121882785,
    0.002490394570164845,
    -3.657620405601197e-05,
    3.1336142330340225e-07,
    -1.7569723985314905e-09,
    6.8179753684151946e-12,
)

# cos(pi t / 4) in t^2; largest relative error 6.12e-17.
COS_64 = (
    1.0,
    -0.30842513753403883,
    0.01585434424374727,
    -0.00032599188649696907,
    3.5908591938000543e-06,
    -2.4609512652687984e-08,
    1.1365494782049501e-10,
)

# -2 ln(1 + f) / f on [-1/2, 0); largest relative error 2.4e-8.
LOG_32 = (
    np.float32(-2.0),
    np.float32(0.99999046),
    np.float32(-0.66726315),
    np.float32(0.48738062),
    np.float32(-0.5272728),
    np.float32(-0.36147693),
    np.float32(-2.416484),
    np.float32(-3.2780821),
    np.float32(-2.8285732),
)

# (atanh(s) / s - 1) / s^2 in s^2, s on [-1/3, 0); largest relative error 1.28e-16.
LOG_64 = (
    0.3333333333333333,
    0.20000000000006124,
    0.14285714283733272,
    0.11111111346267744,
    0.09090895187868707,
    0.07692774591478801,
    0.06657212685193863,
    0.059994090020620866,
    0.04405323911007868,
    0.08072837527726398,
)

# x / (1 - 2p) in w - 2.65, w on [0, 5.3]; largest relative error 1.95e-7.
MAGNITUDE_32 = (
    np.float32(2.1754951),
    np.float32(0.3469152),
    np.float32(-0.00666432),
    np.float32(-0.0015900772),
    np.float32(0.00030252634),
    np.float32(-1.014668e-05),
    np.float32(-4.326666e-06),
    np.float32(4.991141e-07),
    np.float32(2.658189e-08),
)

# x / ((1 - 2p) sqrt(w)) in 1 / sqrt(w) - 1/4, w on [5.3, 85.95]; largest relative error 2.53e-7.
TAIL_32 = (
    np.float32(1.3575686),
    np.float32(-0.28025988),
    np.float32(0.113920115),
    np.float32(0.78647316),
    np.float32(-0.7607413),
    np.float32(10.833182),
    np.float32(44.90611),
    np.float32(-88.109505),
    np.float32(-714.85364),
    np.float32(1234.1985),
)

# The inverse of the normal distribution for float64: PPND16, algorithm AS 241 (Wichura, Applied Statistics 37, 1988),
# relative error about 1e-16. Numerator and denominator, first for |q| <= 0.425, then for r <= 5, then beyond.
CENTRE_NUMERATOR = (
    3.387132872796366608,
    133.14166789178437745,
    1971.5909503065514427,
    13731.693765509461125,
    45921.953931549871457,
    67265.770927008700853,
    33430.575583588128105,
    2509.0809287301226727,
)
CENTRE_DENOMINATOR = (
    1.0,
    42.313330701600911252,
    687.1870074920579083,
    5394.1960214247511077,
    21213.794301586595867,
    39307.89580009271061,
    28729.085735721942674,
    5226.495278852545925,
)
NEAR_NUMERATOR = (
    1.42343711074968357734,
    4.6303378461565452959,
    5.7694972214606914055,
    3.64784832476320460504,
    1.27045825245236838258,
    0.24178072517745061177,
    0.0227238449892691845833,
    7.7454501427834140764e-4,
)
NEAR_DENOMINATOR = (
    1.0,
    2.05319162663775882187,
    1.6763848301838038494,
    0.68976733498510000455,
    0.14810397642748007459,
    0.0151986665636164571966,
    5.475938084995344946e-4,
    1.05075007164441684324e-9,
)
FAR_NUMERATOR = (
    6.6579046435011037772,
    5.4637849111641143699,
    1.7848265399172913358,
    0.29656057182850489123,
    0.026532189526576123093,
    0.0012426609473880784386,
    2.71155556874348757815e-5,
    2.01033439929228813265e-7,
)
FAR_DENOMINATOR = (
    1.0,
    0.59983220655588793769,
    0.13692988092273580531,
    0.0148753612908506148525,
    7.868691311456132591e-4,
    1.8463183175100546818e-5,
    1.4215117583164458887e-7,
    2.04426310338993978564e-15,
)
