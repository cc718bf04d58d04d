module kmirror-example

go 1.22

require kmirror v0.0.0

replace kmirror => ../../../bindings/go
