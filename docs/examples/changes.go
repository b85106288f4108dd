// Follows the changes of a cluster's records: go run changes.go URL CLUSTER CURSOR_FILE
package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"log"
	"net/http"
	"net/url"
	"os"
	"time"
)

func must[T any](value T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return value
}

func main() {
	http.DefaultClient.Timeout = 30 * time.Second
	text, _ := os.ReadFile(os.Args[3]) // without a cursor, begin with a number that no registry has: 410
	headers := http.Header{"Authorization": {"Bearer " + os.Getenv("REGISTRY_TOKEN")}}
	for since, page, asOf := cmp.Or(string(text), "9007199254740991"), "", any(nil); ; time.Sleep(time.Second) {
		address := os.Args[1] + "/v1/changes?limit=5000&cluster=" + os.Args[2] + "&since=" + since
		if since == "" { // then come the changes since the first page, some of them again
			address = os.Args[1] + "/v1/clusters/" + os.Args[2] + "/pods?limit=5000" + page
		}
		response := must(http.DefaultClient.Do(&http.Request{URL: must(url.Parse(address)), Header: headers}))
		var answer struct {
			Items      []struct{ Op, ID, Owner string }
			Next, AsOf any
		}
		if response.StatusCode == 410 { // no longer kept
			fmt.Println("inventory")
			since, page, asOf = "", "", nil
		} else if response.StatusCode != 200 {
			log.Fatalf("%s: %s", address, response.Status)
		} else {
			must(0, json.NewDecoder(response.Body).Decode(&answer))
		}
		response.Body.Close()
		for _, item := range answer.Items {
			if since == "" || item.Owner == "pod-registrar" {
				fmt.Println(cmp.Or(item.Op, "have"), item.ID)
			}
		}
		asOf = cmp.Or(asOf, answer.AsOf)
		switch next := cmp.Or(answer.Next, asOf).(type) {
		case string:
			page = "&page=" + url.QueryEscape(next)
		case float64: // exact, as all numbers of the protocol are below 2^53
			since = fmt.Sprintf("%.0f", next)
		}
		must(0, os.WriteFile(os.Args[3]+".new", []byte(since), 0o600)) // last: a change that was cut off comes again
		must(0, os.Rename(os.Args[3]+".new", os.Args[3]))              // whole or not at all
	}
}
