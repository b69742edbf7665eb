"""Networks with several exits: where they may be cut, and how they decide when to leave."""
