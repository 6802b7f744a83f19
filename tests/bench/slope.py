# SPDX-License-Identifier: Apache-2.0
"""How much longer something takes for each unit more of something else, and how sure that is."""

import math
import statistics

CONFIDENCE = 0.95


def there_and_back(things):
    """The order of one round, ABCCBA: what grows or shrinks steadily meanwhile is the same for all."""
    return [*things, *reversed(things)]


def interval(values):
    """(low, high, confidence) of their median, from the values alone: it is between the Nth from below and the Nth
    from above unless fewer than N of them happen to lie on one side of it."""
    values = sorted(values)
    count = len(values)
    outside = 0.0  # the chance of too few on one side
    number = 0
    while number < (count - 1) // 2:
        more = outside + math.comb(count, number) / 2 ** count
        if 1 - 2 * more < CONFIDENCE:
            break
        outside = more
        number += 1
    if number == 0:  # too few for this confidence: all of them
        return values[0], values[-1], 1 - 2 / 2 ** count
    return values[number - 1], values[-number], 1 - 2 * outside


def fit(rounds):
    """rounds: [{size: time}]. The median of the slopes of the rounds: one that was disturbed counts no more than any
    other."""
    slopes = [statistics.linear_regression(list(times), list(times.values())).slope for times in rounds]
    low, high, confidence = interval(slopes)
    return {"ms_per_gib": round(statistics.median(slopes), 4), "interval": [round(low, 4), round(high, 4)],
            "confidence": round(confidence, 3), "rounds": len(rounds)}
