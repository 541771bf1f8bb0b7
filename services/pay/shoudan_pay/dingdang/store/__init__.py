"""Statements on Dingdang: trades and notices."""
