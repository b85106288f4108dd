// pocketbase is the PocketBase server with its usual commands, without its optional plugins.
package main

import (
	"fmt"
	"os"

	"github.com/pocketbase/pocketbase"

	"podregistrar.test/registries/lifetime"
)

func main() {
	lifetime.EndWithInput()
	// Not in development mode, which PocketBase chooses for executables in a cache folder.
	app := pocketbase.NewWithConfig(pocketbase.Config{HideStartBanner: true})
	if err := app.Start(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
