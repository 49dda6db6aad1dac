// Package browsertest starts the chat and uses it with a real browser, as
// people do. It is a module of its own, so that the library's module needs no
// browser driver.
package browsertest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"

	// For go test to see when what it starts has changed, and for go.mod to
	// know what that needs.
	_ "github.com/channellayer/channellayer/examples/chat/chatserver"
)

const chatPackage = "github.com/channellayer/channellayer/examples/chat"

// binary is the chat, built; chromium is the browser.
var binary, chromium string

func TestMain(m *testing.M) { os.Exit(testMain(m)) }

func testMain(m *testing.M) int {
	chromium = findChromium()
	if chromium == "" {
		if os.Getenv("CHANNELLAYER_REQUIRE_ALL") == "1" {
			fmt.Println("FAIL: found no chromium, and CHANNELLAYER_REQUIRE_ALL=1 allows no skipping")
			return 1
		}
		fmt.Println("SKIPPED: found no chromium, so NOTHING of the chat page was tested")
		return 0
	}
	dir, err := os.MkdirTemp("", "chat-browsertest-")
	if err != nil {
		fmt.Println("FAIL:", err)
		return 1
	}
	defer os.RemoveAll(dir)
	binary = filepath.Join(dir, "chat")
	if out, err := exec.Command("go", "build", "-o", binary, chatPackage).CombinedOutput(); err != nil {
		fmt.Printf("FAIL: go build %s: %v\n%s", chatPackage, err, out)
		return 1
	}
	code := m.Run()
	if err := goleak.Find(); code == 0 && err != nil {
		fmt.Println("FAIL:", err)
		return 1
	}
	return code
}

func findChromium() string {
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	return ""
}
