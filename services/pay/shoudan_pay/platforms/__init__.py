"""The rules of ChinaUMS (003) and Dingdang (004): states, refusals, background work."""
