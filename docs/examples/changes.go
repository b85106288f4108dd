// Follows the changes of a cluster's records: go run changes.go URL CLUSTER CURSOR_FILE
package main

import (
	"encoding/json"
	"fmt"
	"log"
	"net/http"
	"net/url"
	"os"
	"time"
)

var base, cluster, cursor = os.Args[1], os.Args[2], os.Args[3]

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

// get returns false if the answer is 410: what was asked for is no longer kept.
func get(path string, into any) bool {
	request, err := http.NewRequest("GET", base+"/v1/"+path, nil)
	must(err)
	if token := os.Getenv("REGISTRY_TOKEN"); token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	answer, err := (&http.Client{Timeout: 30 * time.Second}).Do(request)
	must(err)
	defer answer.Body.Close()
	if answer.StatusCode == 410 {
		return false
	}
	if answer.StatusCode != 200 {
		log.Fatalf("%s: status %d", path, answer.StatusCode)
	}
	must(json.NewDecoder(answer.Body).Decode(into))
	return true
}

// inventory prints all records. Then come the changes since its first page, some of them again.
func inventory() (since uint64) {
	for page, first := "", true; ; first = false {
		var answer struct {
			Items []struct{ ID string }
			Next  string
			AsOf  uint64
		}
		if !get("clusters/"+cluster+"/pods?limit=5000"+page, &answer) {
			return inventory()
		}
		if first {
			since = answer.AsOf
		}
		for _, item := range answer.Items {
			fmt.Println("have", item.ID)
		}
		if answer.Next == "" {
			return since
		}
		page = "&page=" + url.QueryEscape(answer.Next)
	}
}

func main() {
	var since uint64
	// Without a file, or with an empty one: begin again.
	if text, _ := os.ReadFile(cursor); len(text) == 0 {
		since = inventory()
	} else {
		_, err := fmt.Sscan(string(text), &since)
		must(err)
	}
	for {
		var answer struct {
			Items []struct{ Op, ID, Owner string }
			Next  uint64
		}
		if !get(fmt.Sprintf("changes?cluster=%s&since=%d", cluster, since), &answer) {
			since = inventory()
			continue
		}
		for _, change := range answer.Items {
			if change.Owner == "pod-registrar" {
				fmt.Println(change.Op, change.ID)
			}
		}
		since = answer.Next
		// Last, so that a change that was cut off comes again. Renamed, so that it is whole or not there.
		must(os.WriteFile(cursor+".new", []byte(fmt.Sprint(since)), 0o600))
		must(os.Rename(cursor+".new", cursor))
		if len(answer.Items) == 0 {
			time.Sleep(time.Second)
		}
	}
}
