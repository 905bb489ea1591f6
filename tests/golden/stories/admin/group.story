# Groups and their members.
group list
group add frontends
group add frontends
group add Frontends
principal add billing --quiet
principal add shop --quiet
group add-member frontends billing
group add-member frontends billing
group add-member frontends nobody
group add-member nowhere billing
group add-member frontends shop
group show frontends
group show nowhere
group list
policy allow group:frontends billing --scope read
group remove-member frontends shop
group remove-member frontends shop
group remove-member nowhere shop
group delete frontends
group delete frontends --yes
group delete frontends --yes
group list --quiet
audit export
