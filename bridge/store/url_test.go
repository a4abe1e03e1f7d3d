package store_test

import (
	"strings"
	"testing"

	"m2mbridge/bridge/store"
)

func TestParseURL(t *testing.T) {
	for _, c := range []struct{ url, description, user, password string }{
		{"redis://localhost", "redis localhost:6379", "", ""},
		{"redis://:pw@h:1/2", "redis h:1 db 2", "", "pw"},
		{"redis://u:p%40w%2F@h:1?db=3", "redis h:1 db 3", "u", "p@w/"},
		{"redis://[::1]:7", "redis [::1]:7", "", ""},
		{"redis://[::1]", "redis [::1]:6379", "", ""},
		{"rediss://h/", "redis h:6379 (TLS)", "", ""},
		{"unix:///run/redis.sock", "unix /run/redis.sock", "", ""},
		{"unix://:pw@/run/a%20b.sock?db=1", "unix /run/a b.sock db 1", "", "pw"},
		{"redis+sentinel://:pw@a:1,b/main", "sentinel a:1,b:26379 master main", "", "pw"},
		{"rediss+sentinel://a/main/4?sentinel_password=x", "sentinel a:26379 master main db 4 (TLS)", "", ""},
		{"redis+cluster://u:pw@a:1,b:2", "cluster a:1,b:2", "u", "pw"},
		{"rediss+cluster://a?skip_verify=true&server_name=n", "cluster a:6379 (TLS)", "", ""},
	} {
		description, user, password, err := store.ParseURL(c.url)
		if err != nil || description != c.description || user != c.user || password != c.password {
			t.Errorf("%s: %q %q %q %v", c.url, description, user, password, err)
		}
	}
}

func TestParseURLRefuses(t *testing.T) {
	for _, c := range []struct{ url, says string }{
		{"localhost:6379", "no scheme"},
		{"http://h", `unknown scheme "http"`},
		{"redis+ring://h", `unknown scheme "redis+ring"`},
		{"unix+cluster:///x", `unknown scheme "unix+cluster"`},
		{"redis://", "host missing"},
		{"redis://:PassWord@", "host missing"},
		{"redis://h:0", `port "0"`},
		{"redis://h:99999", `port "99999"`},
		{"redis://a:b:c", "not well-formed"},
		{"redis://h/x", `database "x" is no number`},
		{"redis://h/1/2", `database "1/2" is no number`},
		{"redis://h/-1", "is no number"},
		{"redis://h?db=x", `database "x"`},
		{"redis://a:1,b:2", "redis+sentinel:// or redis+cluster://"},
		{"redis://h?max_retries=3", `unknown parameter "max_retries"`},
		{"redis://h?ca=/x", "rediss:// only"},
		{"redis://h?sentinel_user=x", "redis+sentinel:// only"},
		{"redis://h?a=%zz", "not well-formed"},
		{"rediss://h?ca=/does/not/exist", "parameter ca"},
		{"rediss://h?ca=/dev/null", "no certificate in /dev/null"},
		{"rediss://h?cert=/x", "cert and key go together"},
		{"rediss://h?cert=/x&key=/y", "parameters cert and key"},
		{"rediss://h?skip_verify=maybe", "write true or false"},
		{"unix://relative/path", "absolute"},
		{"unix://", "absolute"},
		{"unix:///%zz", "percent-encoded"},
		{"redis+sentinel://a:1", "name of the master missing"},
		{"redis+cluster://a:1/3", "database 0 only"},
		{"redis+cluster://a?db=3", "database 0 only"},
		{"redis://PassWord@h", "user without a password"},
		{"redis://u:Pass/Word@h", "must be percent-encoded"},
		{"redis://u:Pass?Word@h", "must be percent-encoded"},
		{"redis://u:Pass#Word@h", "must be percent-encoded"},
		{"redis://u:Pass@Word@h", "must be percent-encoded"},
		{"redis://u:PassWord%zz@h", "percent-encoded"},
		{"redis+sentinel://h/m?sentinel_password=Pass@Word", "must be percent-encoded"},
	} {
		_, _, _, err := store.ParseURL(c.url)
		switch {
		case err == nil || !strings.Contains(err.Error(), c.says):
			t.Errorf("%s: %v, want %q", c.url, err, c.says)
		case strings.Contains(err.Error(), "Pass") || strings.Contains(err.Error(), "Word"):
			t.Errorf("%s: the error shows the password: %v", c.url, err)
		}
	}
}

func TestRedact(t *testing.T) {
	for url, want := range map[string]string{
		"embedded":                    "embedded",
		"redis://h:1/2":               "redis://h:1/2",
		"redis://:PassWord@h":         "redis://:********@h",
		"redis://u:PassWord@h/1?db=2": "redis://u:********@h/1?db=2",
		"redis://u:Pass/@Word@h":      "redis://u:********@h",
		"redis://PassWord@h":          "redis://********@h",
		"u:PassWord@h":                "u:********@h",
		"redis+sentinel://h/m?x=1&Sentinel_password=PassWord&db=1": "redis+sentinel://h/m?x=1&Sentinel_password=********&db=1",
	} {
		if got := store.Redact(url); got != want {
			t.Errorf("%s: %s", url, got)
		}
	}
}

func TestCheckInfo(t *testing.T) {
	for _, c := range []struct{ info, form, says string }{
		{"redis_version:7.0.0\r\nredis_mode:standalone\r\ncluster_enabled:0\r\n", "redis", ""},
		{"redis_version:255.255.255\r\n", "redis", ""},
		{"redis_version:7.2.4\r\ncluster_enabled:1\r\n", "cluster", ""},
		{"redis_version:6.2.14\r\n", "redis", "version 6.2.14 is too old: 7.0 or later is needed"},
		{"", "redis", "is it a Redis?"},
		{"redis_version:7.0.0\r\nredis_mode:sentinel\r\n", "redis", "redis+sentinel://"},
		{"redis_version:7.0.0\r\ncluster_enabled:1\r\n", "unix", "redis+cluster://"},
		{"redis_version:7.0.0\r\ncluster_enabled:0\r\n", "cluster", "write redis://"},
	} {
		err := store.CheckInfo(c.info, c.form)
		if (err == nil) != (c.says == "") || (err != nil && !strings.Contains(err.Error(), c.says)) {
			t.Errorf("%q as %s: %v, want %q", c.info, c.form, err, c.says)
		}
	}
}
