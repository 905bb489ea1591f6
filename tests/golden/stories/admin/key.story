# A principal's keys: rotated, activated, retired, exported.
principal add orders --quiet
key list orders
key list nobody
later 60
key rotate orders --out orders.key.new
key rotate orders --out orders.key.again
key rotate nobody --out nobody.key
key list orders
key export orders --out orders.key
key export orders --out all.key
key export orders --verify-only --out orders.verify.key
key export orders --out -
key export nobody --out nobody.key
key activate orders
key activate orders
key activate nobody
key list orders
later 7200
key retire orders 2
key retire orders 9
key retire orders 0
key retire nobody 1
key retire orders 1
key retire orders 1
key list orders
key retire orders 2 --force
key retire orders 2 --force --yes
key list orders
principal show orders
key erase-tombstones
later 2700000
key erase-tombstones
key list orders
audit export
