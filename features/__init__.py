"""What a model sees: analytic bounds and named, unit-carrying, versioned columns computed from questions.

The same code computes them for training and for prediction. `FEATURE_VERSION` changes whenever a column's meaning does; a
model made with another version is refused.
"""

FEATURE_VERSION = "3"
