# Varnish in front of a service with an Orthros middleware. What ends TLS stands in front of Varnish.
# Start it with: varnishd -f orders.vcl -p workspace_client=256k -p workspace_backend=256k -p http_req_size=128k -p http_req_hdr_len=64k
# because a ticket with caveats and a cookie beside it need more than the defaults.
# To adapt: the service's address.
vcl 4.1;

import std;

backend orders {
    .host = "127.0.0.1";
    .port = "8080";
}

sub vcl_recv {
    # One line, over whatever came, if this is the first proxy. Varnish has appended its client's address.
    set req.http.X-Forwarded-For = client.ip;
    # Nothing from the cache: each response proves one request. Also skips the built-in rules, which lower-case Host.
    return (pass);
}

sub vcl_backend_response {
    # As they came: a compressed body is not the body that the service proved.
    set beresp.do_gzip = false;
    set beresp.do_gunzip = false;
    return (deliver);
}
