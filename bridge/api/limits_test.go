package api

import (
	"strconv"
	"testing"

	"m2mbridge/auth/redistest"
)

func appRate(perSecond float64) option { return func(c *Config) { c.AppRate = perSecond } }

// until makes requests until one is refused, and gives how many were not.
func (a *testAPI) until(key string, most int) (n int, refused answer) {
	a.t.Helper()
	for n < most {
		got := a.call(key, "GET", "/v1/devices", "")
		if got.status != 200 {
			return n, got
		}
		n++
	}
	return n, answer{}
}

func TestAppsAreHeldToTheirLimits(t *testing.T) {
	const rate = 0.02 // so slow that no request comes back during the test
	a := start(t, redistest.Start(t), appRate(rate))
	for _, want := range []int{1, 0} { // the admin is an app like others here
		if n, got := a.until(adminKey, 3); n != want || got.status != 429 {
			t.Fatalf("%d requests, then %d", n, got.status)
		}
	}
	n, got := a.until(adminKey, 1)
	wait, err := strconv.Atoi(got.header.Get("Retry-After"))
	if n != 0 || err != nil || wait < 1 || wait > 50 || got.header.Get("Content-Type") != "application/problem+json" || !contains(got.body, "app admin") {
		t.Errorf("%d: %v %s", n, got.header, got.body)
	}
	if policy, left := got.header.Get("RateLimit-Policy"), got.header.Get("RateLimit"); policy != `"app";q=1;w=50` || left[:len(`"app";r=0;t=`)] != `"app";r=0;t=` {
		t.Errorf("%s %s", policy, left)
	}
	metrics := a.want(200, "", "GET", "/metrics", "", nil)
	if !contains(metrics.body, `m2mbridge_api_limited_total{app="admin"} 3`) {
		t.Errorf("%s", metrics.body)
	}
}

func TestAppsOwnLimitWins(t *testing.T) {
	a := start(t, redistest.Start(t))
	key := a.app("slow", "device.read")
	if n, _ := a.until(key, 20); n != 20 {
		t.Errorf("%d requests without a limit", n)
	}
	a.expect(a.patch(adminKey, "/v1/apps/slow", `{"limits":{"requests":0.02}}`), 200)
	if n, got := a.until(key, 20); n > 1 || got.status != 429 {
		t.Errorf("%d requests, then %d", n, got.status)
	}
	a.expect(a.call(adminKey, "GET", "/v1/devices", ""), 200)
	a.expect(a.patch(adminKey, "/v1/apps/slow", `{"limits":null}`), 200)
	if n, _ := a.until(key, 20); n != 20 {
		t.Errorf("%d requests after the limit was lifted", n)
	}
}
