module github.com/channellayer/channellayer/examples/chat/browsertest

go 1.26.0

replace github.com/channellayer/channellayer => ../../..

require (
	github.com/channellayer/channellayer v0.0.0
	github.com/chromedp/cdproto v0.159.0
	github.com/chromedp/chromedp v0.23.0
	go.uber.org/goleak v1.3.0
)

require (
	github.com/coder/websocket v1.8.15 // indirect
	github.com/go-json-experiment/json v0.0.0-20260213210345-44df1a37e875 // indirect
)
