# OAuth clients and their secrets.
principal add billing --quiet
principal add orders --quiet
principal add shop/web --quiet
oauth list
oauth enable billing
oauth enable billing
oauth enable nobody
oauth enable shop/web --out - --default-audience orders
oauth enable orders --default-audience nobody
oauth list
oauth list billing
oauth list nobody
oauth list orders
oauth audience billing orders
oauth audience billing nobody
oauth audience billing
oauth audience orders billing
oauth list billing
oauth audience billing --none
later 60
oauth secret billing --out billing.oauth-secret.new
oauth secret billing --out billing.oauth-secret.third
oauth secret billing
oauth secret orders
oauth list billing
oauth retire billing --id 0f3a5c7e9b1d2f40
oauth retire billing --id x
oauth retire billing
oauth retire orders --id 0f3a5c7e9b1d2f40
principal show billing
oauth disable billing
oauth disable billing --yes
oauth disable billing --yes
oauth disable nobody --yes
oauth list
audit export
