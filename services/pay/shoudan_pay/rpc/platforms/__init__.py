"""ChinaUMS (003) and Dingdang (004) over gRPC: servicers, links to PayServer, notices."""
