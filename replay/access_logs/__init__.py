"""Access logs of web servers, proxies and balancers: what is a time, a client and a request, whatever is around it."""
