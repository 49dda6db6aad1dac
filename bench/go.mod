module github.com/channellayer/channellayer/bench

go 1.26.0

require github.com/channellayer/channellayer v0.0.0

require go.yaml.in/yaml/v3 v3.0.6 // indirect

replace github.com/channellayer/channellayer => ../
