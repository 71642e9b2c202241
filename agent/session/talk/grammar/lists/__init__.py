"""All that can be asked for, in the order in which it is tried."""

from agent.session.talk.grammar.acts import Act
from agent.session.talk.grammar.lists.delivery import DELIVERIES
from agent.session.talk.grammar.lists.knowledge import KNOWLEDGE
from agent.session.talk.grammar.lists.look import LOOKS
from agent.session.talk.grammar.lists.orders import ORDERS
from agent.session.talk.grammar.lists.waits import WAITS

ACTS: tuple[Act, ...] = (*KNOWLEDGE, *LOOKS, *WAITS, *DELIVERIES, *ORDERS)
