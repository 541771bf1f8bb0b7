// HMAC-SHA256-V2 of a call, for clients in Go.
package main

import (
	"bufio"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/url"
	"os"
	"sort"
	"strings"
)

// encoded is QueryEscape, which is for forms, with %20 for a space.
func encoded(text string) string {
	return strings.ReplaceAll(url.QueryEscape(text), "+", "%20")
}

// sign gives the hex of the signature. params: those of query and body together; body: its bytes, none of a GET.
func sign(method, path string, params map[string]string, body []byte, key string) string {
	return signed([]string{"HMAC-SHA256-V2", method, path}, encoded, params, body, key)
}

// signV1 is the first version, HMAC-SHA256: names and values as they are, and no first line.
func signV1(method, path string, params map[string]string, body []byte, key string) string {
	asItIs := func(text string) string { return text }
	return signed([]string{method, path}, asItIs, params, body, key)
}

func signed(lines []string, shownAs func(string) string, params map[string]string, body []byte, key string) string {
	names := make([]string, 0, len(params))
	for name := range params {
		if name != "sign" {
			names = append(names, name)
		}
	}
	sort.Strings(names) // by bytes
	shown := make([]string, len(names))
	for i, name := range names {
		shown[i] = shownAs(name) + "=" + shownAs(params[name])
	}
	digest := sha256.Sum256(body)
	lines = append(lines, strings.Join(shown, "&"), hex.EncodeToString(digest[:]))
	mac := hmac.New(sha256.New, []byte(key))
	mac.Write([]byte(strings.Join(lines, "\n")))
	return hex.EncodeToString(mac.Sum(nil))
}

func bytesOf(digits string) []byte {
	found, err := hex.DecodeString(digits)
	if err != nil {
		panic(err)
	}
	return found
}

// Lines of method, path, key, body and name=value&…, the last two in hex, and the version: 1 or 2.
func main() {
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		part := strings.Split(lines.Text(), "\t")
		params := map[string]string{}
		for _, pair := range strings.Split(part[4], "&") {
			name, value, _ := strings.Cut(pair, "=")
			params[string(bytesOf(name))] = string(bytesOf(value))
		}
		made := sign
		if part[5] == "1" {
			made = signV1
		}
		fmt.Println(made(part[0], part[1], params, bytesOf(part[3]), part[2]))
	}
}
