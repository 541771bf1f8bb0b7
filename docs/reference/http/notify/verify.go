// Whether a notify is ours: Standard Webhooks, for receivers in Go.
package main

import (
	"bufio"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"os"
	"strconv"
	"strings"
)

const offSMax = 300

func keyOf(secret string) []byte {
	if strings.HasPrefix(secret, "whsec_") {
		if key, err := base64.StdEncoding.DecodeString(secret[len("whsec_"):]); err == nil {
			return key
		}
	}
	return []byte(secret)
}

// verify takes the headers by their names in lower case, the bytes of the body as they came, and several secrets
// while they are exchanged. now: seconds since 1970.
func verify(secrets []string, headers map[string]string, body []byte, now int64) bool {
	stamp := headers["webhook-timestamp"]
	seconds, err := strconv.ParseUint(stamp, 10, 62)
	if off := now - int64(seconds); err != nil || off > offSMax || off < -offSMax {
		return false
	}
	right := false
	for _, secret := range secrets {
		mac := hmac.New(sha256.New, keyOf(secret))
		mac.Write([]byte(headers["webhook-id"] + "." + stamp + "."))
		mac.Write(body)
		made := []byte("v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil)))
		for _, one := range strings.Fields(headers["webhook-signature"]) {
			if hmac.Equal(made, []byte(one)) { // all are compared
				right = true
			}
		}
	}
	return right
}

// Lines of secrets (separated by spaces), id, timestamp, signature, body in hex, and the time now.
func main() {
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		part := strings.Split(lines.Text(), "\t")
		headers := map[string]string{"webhook-id": part[1], "webhook-timestamp": part[2], "webhook-signature": part[3]}
		body, _ := hex.DecodeString(part[4])
		now, _ := strconv.ParseInt(part[5], 10, 64)
		if verify(strings.Fields(part[0]), headers, body, now) {
			fmt.Println("yes")
		} else {
			fmt.Println("no")
		}
	}
}
