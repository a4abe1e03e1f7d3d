// Package smpp is a client of SMSCs that speak SMPP 3.4: it binds as a transceiver, submits short messages and takes in
// delivery receipts and messages from phones. It knows nothing of devices, of stores or of when to try again.
//
// New checks a Config, Client.Run keeps a session bound until its context ends, and Client.Submit sends one message over
// it. What Submit returns is evidence, and one of these:
//
//	nil                   the SMSC accepted the message; one id for each of its parts
//	*StatusError          the SMSC refused it; Class says whether to try again
//	ErrNotSent            not an octet of it left; with ErrInvalid it never will
//	ErrUnknown            it was sent, wholly or partly, and no answer came
//	*PartialError         some parts of a long message were accepted, the next one was not
//
// An answer that comes after Submit gave up goes to Config.Late. A receipt may come before Submit has returned the id that
// it is about, and more than once: the SMSC sends it again until Config.Receipt has returned nil and the answer to that has
// arrived. Ids of receipts may be spelled otherwise than those of answers: compare them with IDForms.
//
// Nothing is logged. Config.Changed is told of every change of the session, without passwords or numbers.
package smpp
