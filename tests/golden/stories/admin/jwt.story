# Tokens for targets that check them with an ordinary library.
principal add orders --quiet
principal add archive --quiet
jwt export orders --out orders.jwk
jwt rotate orders
jwt disable orders --yes
jwt claims orders --claim tenant
jwt enable orders
jwt enable orders
jwt enable archive --alg opaque
jwt enable archive --alg HS512 --audience https://archive.example
jwt enable nobody
jwt enable orders --alg RS256
jwt export orders --out orders.jwk
jwt export orders --out orders.jwk
jwt export orders --out -
jwt export orders --format hex --out -
jwt export orders --format hex --out orders.hex
jwt export archive --out archive.jwk
jwt export nobody --out nobody.jwk
jwt claims orders --claim tenant --claim region
jwt claims orders --claim sub
jwt claims orders --claim Tenant
jwt claims orders
jwt claims orders --none
jwt claims orders --none --claim tenant
later 60
jwt rotate orders
jwt rotate archive
principal show orders
principal show archive
jwt disable orders
jwt disable orders --yes
principal show orders
audit export
