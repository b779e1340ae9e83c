"""A statistical battery on the words and the values of the stream; `ci/statistics` runs it.

checks.py            what a check is, and how a statistic becomes a p-value
words.py             checks of 32-bit words
values.py            checks of values against a law
anderson_darling.py  the limit law of the Anderson-Darling statistic
expected.py          the laws, from closed forms
addresses.py         which elements are looked at
rounds.py            everything once, over fresh addresses
verdict.py           many p-values of many checks become one yes or no
controls.py          planted defects, each of which a check must catch
report.py            the page docs/statistics.md
dieharder.py         an outside battery, through the pipe of `fastinit bits`
"""
