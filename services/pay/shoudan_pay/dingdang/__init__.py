"""Dingdang (004), both sides: notices to its partners, trades at its platform."""
