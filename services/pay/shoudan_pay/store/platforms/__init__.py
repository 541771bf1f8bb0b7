"""Statements on ChinaUMS (003) and Dingdang (004): callers, nonces, refunds, trades, notices."""
