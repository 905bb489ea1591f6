"""Services as they are deployed, and what befalls them: workers, replicas, proxies, servers that are killed."""
