"""Reading requests without a language model: everyday sentences, in several languages, as tools.

    words     languages/*.txt: phrases and the concepts that they stand for
    tokens    a line as typed values and concepts
    amounts   numbers with what they count
    acts      how a sentence asks for something; lists/ has all that can be asked for
    said      rules of a search in the words that steering reads
    whole     what of a line belongs to one order
    requests  a line as acts, in order

What it cannot read it says so, with the three nearest things that can be done; it never answers a question with
something else, and never does half of what was said.
"""

from agent.session.talk.grammar.offers import EXAMPLES, STRANGE
from agent.session.talk.grammar.requests import meanings, numbers, parts, quick, read

__all__ = ["EXAMPLES", "STRANGE", "meanings", "numbers", "parts", "quick", "read"]
