package faults

import (
	"flag"
	"fmt"
	"os"
	"strconv"
	"testing"

	"go.uber.org/goleak"
)

// workerVariable makes the test binary a process of a fleet.
const workerVariable = "CHANNELLAYER_FAULTS_WORKER"

func TestMain(m *testing.M) {
	if os.Getenv(workerVariable) == "" {
		flag.Parse()
		if err := flag.Set("test.parallel", strconv.Itoa(lanes())); err != nil {
			panic(err)
		}
		goleak.VerifyTestMain(m)
		return
	}
	if err := Work(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
