package pdu

import (
	"fmt"
	"strings"
)

// Status is a command_status (SMPP 3.4 §5.1.3).
type Status uint32

// Those that this module itself gives or acts upon.
const (
	StatusOK           Status = 0x00
	StatusInvMsgLen    Status = 0x01
	StatusInvCmdLen    Status = 0x02
	StatusInvCmdID     Status = 0x03
	StatusInvBndSts    Status = 0x04
	StatusBindFail     Status = 0x0d
	StatusInvPaswd     Status = 0x0e
	StatusInvSysID     Status = 0x0f
	StatusMsgQFul      Status = 0x14
	StatusThrottled    Status = 0x58
	StatusTAppn        Status = 0x64 // temporary error at the receiving ESME: send it again
	StatusInvOptParams Status = 0xc0
)

// String is the name, as ESME_RINVDSTADR, or the number.
func (s Status) String() string {
	for _, n := range names {
		if n.status == s {
			return n.name
		}
	}
	return fmt.Sprintf("0x%08x", uint32(s))
}

// ParseStatus is the status of a name, in any case, with or without ESME_.
func ParseStatus(name string) (s Status, ok bool) {
	name = strings.TrimPrefix(strings.ToUpper(name), "ESME_")
	for _, n := range names {
		if strings.TrimPrefix(n.name, "ESME_") == name {
			return n.status, true
		}
	}
	return 0, false
}

// Statuses are all that the specification names, in its order.
func Statuses() []Status {
	list := make([]Status, len(names))
	for i, n := range names {
		list[i] = n.status
	}
	return list
}

// names is the table of SMPP 3.4 §5.1.3.
var names = []struct {
	status Status
	name   string
}{
	{0x00, "ESME_ROK"},
	{0x01, "ESME_RINVMSGLEN"},
	{0x02, "ESME_RINVCMDLEN"},
	{0x03, "ESME_RINVCMDID"},
	{0x04, "ESME_RINVBNDSTS"},
	{0x05, "ESME_RALYBND"},
	{0x06, "ESME_RINVPRTFLG"},
	{0x07, "ESME_RINVREGDLVFLG"},
	{0x08, "ESME_RSYSERR"},
	{0x0a, "ESME_RINVSRCADR"},
	{0x0b, "ESME_RINVDSTADR"},
	{0x0c, "ESME_RINVMSGID"},
	{0x0d, "ESME_RBINDFAIL"},
	{0x0e, "ESME_RINVPASWD"},
	{0x0f, "ESME_RINVSYSID"},
	{0x11, "ESME_RCANCELFAIL"},
	{0x13, "ESME_RREPLACEFAIL"},
	{0x14, "ESME_RMSGQFUL"},
	{0x15, "ESME_RINVSERTYP"},
	{0x33, "ESME_RINVNUMDESTS"},
	{0x34, "ESME_RINVDLNAME"},
	{0x40, "ESME_RINVDESTFLAG"},
	{0x42, "ESME_RINVSUBREP"},
	{0x43, "ESME_RINVESMCLASS"},
	{0x44, "ESME_RCNTSUBDL"},
	{0x45, "ESME_RSUBMITFAIL"},
	{0x48, "ESME_RINVSRCTON"},
	{0x49, "ESME_RINVSRCNPI"},
	{0x50, "ESME_RINVDSTTON"},
	{0x51, "ESME_RINVDSTNPI"},
	{0x53, "ESME_RINVSYSTYP"},
	{0x54, "ESME_RINVREPFLAG"},
	{0x55, "ESME_RINVNUMMSGS"},
	{0x58, "ESME_RTHROTTLED"},
	{0x61, "ESME_RINVSCHED"},
	{0x62, "ESME_RINVEXPIRY"},
	{0x63, "ESME_RINVDFTMSGID"},
	{0x64, "ESME_RX_T_APPN"},
	{0x65, "ESME_RX_P_APPN"},
	{0x66, "ESME_RX_R_APPN"},
	{0x67, "ESME_RQUERYFAIL"},
	{0xc0, "ESME_RINVOPTPARSTREAM"},
	{0xc1, "ESME_ROPTPARNOTALLWD"},
	{0xc2, "ESME_RINVPARLEN"},
	{0xc3, "ESME_RMISSINGOPTPARAM"},
	{0xc4, "ESME_RINVOPTPARAMVAL"},
	{0xfe, "ESME_RDELIVERYFAILURE"},
	{0xff, "ESME_RUNKNOWNERR"},
}
