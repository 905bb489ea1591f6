# Why a request was refused, by its reference.
principal add web --quiet
principal add orders --quiet
principal add ledger --quiet
policy allow web orders --delegable --subject 'user/*'
kdc refuses web ledger
explain REF
kdc refuses web orders on behalf of user/ada for ledger
explain REF
kdc refuses web orders on behalf of web for ledger
explain REF
kdc rejects bytes
explain REF
oauth enable web --quiet
token endpoint refuses web for orders
explain REF
kdc drowns web ledger
explain REF
explain 0f3a5c7e9b1d2f40
explain 0f3a
explain
audit export
