"""Arithmetic in English: two numbers of two digits, added or subtracted, after two worked examples."""

from stages.core.scoring.skills.items import Draft, Draws, Skill

EXAMPLES = "Question: What is 21 plus 46?\nAnswer: 67\n\nQuestion: What is 58 minus 13?\nAnswer: 45\n\n"


def make(draws: Draws) -> tuple[str, tuple[Draft, ...]]:
    """A sum, or a difference of at least 0."""
    low, high = sorted((draws.between(10, 99), draws.between(10, 99)))
    sign = draws.choice(("plus", "minus"))
    answer = high + low if sign == "plus" else high - low
    content = f"{high} {sign} {low}"
    return content, (Draft(f"{EXAMPLES}Question: What is {content}?\nAnswer:", f" {answer}"),)


SKILL = Skill("english_arithmetic", "shared", 1, "add or subtract numbers of two digits", make, "generate")
