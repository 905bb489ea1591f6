# The record of administration and the log of a KDC: read, proven, archived, restarted.
audit tail
principal add billing --quiet
principal add orders --quiet
later 60
kdc refuses billing orders
kdc rejects bytes
kdc stops billing orders
audit tail
audit tail -n 2
audit tail -n 0
audit tail --event principal.added
audit tail --event tgs-refused
audit tail --event no-such-event
audit tail --client billing
audit tail --target orders
audit tail --code not-granted
audit tail --code no-such-code
audit tail --since 30s
audit tail --since 2027-01-15T08:00:30Z
audit tail --since yesterday
audit verify
audit verify --also missing
audit export
audit export --to record.jsonl
audit export --to record.jsonl
audit archive --to archive
audit archive --to realm
audit restart kdc-2 --reason 'never was'
audit restart kdc-1
audit restart kdc-1 --reason 'disk replaced, log lost'
audit restart 'KDC 1' --reason x
audit verify
kdc refuses billing orders
audit verify
lose kdc-1
audit verify
audit tail -n 3
audit restart kdc-1 --reason 'disk replaced, log lost'
audit verify
