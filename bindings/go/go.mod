module kmirror

go 1.22
