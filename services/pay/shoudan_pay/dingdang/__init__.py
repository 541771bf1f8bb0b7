"""Dingdang (004), both sides: notices to its partners, trades its platform is asked about."""
