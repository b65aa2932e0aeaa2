import math

from stages.core.scoring.metrics.perplexity import perplexity


def test_perplexity_of_a_coin_is_two() -> None:
    assert math.isclose(perplexity([[math.log(0.5)] * 3, [math.log(0.5)]]), 2.0)


def test_perplexity_weighs_tokens_not_answers() -> None:
    # one answer of one sure token, one of three tokens at 1/8: exp(3 ln 8 / 4) = 8^(3/4)
    assert math.isclose(perplexity([[0.0], [math.log(1 / 8)] * 3]), 8**0.75)


def test_perplexity_beyond_float64_is_infinite_and_of_nan_is_nan() -> None:
    assert perplexity([[-1000.0]]) == math.inf
    assert perplexity([[-math.inf]]) == math.inf
    assert math.isnan(perplexity([[math.nan]]))
