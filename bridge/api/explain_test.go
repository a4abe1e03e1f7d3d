package api

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"m2mbridge/auth"
	"m2mbridge/auth/redistest"
)

func TestExplain(t *testing.T) {
	a := start(t, redistest.Start(t))
	a.device(imei1, "")
	a.want(http.StatusCreated, adminKey, "POST", "/v1/devices", `{"id":"`+imei2+`","unsigned":true,"disabled":true}`, nil)
	pack := `[{"bn":"urn:dev:IMEI:356726104408422:","n":"t","v":1}]`
	secret := secretOf(imei1)
	right := auth.Token([]byte(pack), secret)
	for _, c := range []struct {
		name, body, token, device string
		match                     bool
		codes                     string
	}{
		{"right", pack, right, "", true, ""},
		{"newline", pack + "\n", right, "", false, "body-newline-sent"},
		{"secret first", pack, auth.Token([]byte(secret), pack), "", false, "secret-first"},
		{"token of the login", pack, auth.Token([]byte("urn:dev:IMEI:356726104408422:"), secret), "", false, "login-token"},
		{"upper case", pack, strings.ToUpper(right), "", true, "token-upper-case"},
		{"another secret", pack, auth.Token([]byte(pack), "x"), "", false, "unexplained"},
		{"cut body", pack[:len(pack)-1], right, "", false, "pack body-cut-sent"},
		{"no pack", "hello", right, "", false, "pack no-device"},
		{"no pack, named", "hello", auth.Token([]byte("hello"), secret), imei1, true, "pack"},
		{"unknown device", strings.Replace(pack, "3567", "9999", 1), right, "", false, "device-unknown"},
		{"unsigned and disabled", "[]", right, imei2, false, "pack device-disabled device-unsigned no-secret"},
	} {
		t.Run(c.name, func(t *testing.T) {
			in, err := json.Marshal(map[string]string{
				"body": base64.StdEncoding.EncodeToString([]byte(c.body)), "token": c.token, "device": c.device,
			})
			if err != nil {
				t.Fatal(err)
			}
			var out Explanation
			got := a.want(http.StatusOK, adminKey, "POST", "/v1/explain", string(in), &out)
			var codes []string
			for _, f := range out.Findings {
				codes = append(codes, f.Code)
			}
			if out.Match != c.match || strings.Join(codes, " ") != c.codes {
				t.Errorf("got %s, want match %v, %s", got.body, c.match, c.codes)
			}
			if contains(got.body, secret) || contains(got.body, "null") {
				t.Errorf("got %s", got.body)
			}
		})
	}
	if got := a.call(adminKey, "POST", "/v1/explain", `{"body":"%%%","token":""}`); got.status != 422 || !contains(got.body, "body.body") {
		t.Errorf("got %d %s", got.status, got.body)
	}
}
