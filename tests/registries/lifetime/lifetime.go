// Package lifetime ends a server of the tests together with its test, also if the test is killed.
package lifetime

import (
	"io"
	"os"
)

// EndWithInput ends this process when its standard input is closed, which the test holds open.
func EndWithInput() {
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
}
