"""What is kept of a backdoor's images, beside what `training.observations` names.

Here and not there: an edit makes models with a backdoor anew, and no others.
"""

# a row for every model, the start first: the target's probability for each draw
DRAWN_SURE = "drawn.sure"
# a row for every round of the attack, of the attackers' own model
OWN_DRAWN_SURE = "own.drawn.sure"
# which held-out record each draw is of, by its place among them
DRAWN_OF = "drawn.of"
# held-out images as the model is given them: a pattern is on them
GIVEN = "given"
