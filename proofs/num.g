# num.g - num_exp() of src/num.h: its reduced argument and its polynomial, in binary32.
# Run by: gappa proofs/num.g (make proofs). Chapter 1 adds the parts up to less than 1 ulp.

@single = float<ieee_32, ne>;

INVERSE = 0x1.715476p+0;
HIGH = 0x1.62e4p-1;
LOW = 0x1.7f7d1cp-20;

# Any argument w after the clamp gives an integer that the two powers of two can hold. The rint of
# a binary32 below 2^24 is an integer, so binary32 holds it too.
w = single(w_);
nw = int<ne>(single(w * INVERSE));

# An argument x away from 0; nearest-even rounding is symmetric, so -x needs no case of its own.
# Below 0.25 n is 0 and r is x.
x = single(x_);
y = single(x * INVERSE);
n = int<ne>(y);
t = single(x - n * HIGH);
r = single(t - n * LOW);

# The polynomial at a reduced argument of either sign, one fma a step; P and Q without rounding.
c6 = 0x1.6b675p-10; c5 = 0x1.122f1cp-7; c4 = 0x1.55568ep-5; c3 = 0x1.5554a4p-3;
z = single(z_);
p5 = single(c6 * z + c5);
p4 = single(p5 * z + c4);
p3 = single(p4 * z + c3);
p2 = single(p3 * z + 0.5);
p1 = single(p2 * z + 1);
p0 = single(p1 * z + 1);
P = (((((c6 * z + c5) * z + c4) * z + c3) * z + 0.5) * z + 1) * z + 1;

m = single(m_);
q5 = single(c6 * m + c5);
q4 = single(q5 * m + c4);
q3 = single(q4 * m + c3);
q2 = single(q3 * m + 0.5);
q1 = single(q2 * m + 1);
q0 = single(q1 * m + 1);
Q = (((((c6 * m + c5) * m + c4) * m + c3) * m + 0.5) * m + 1) * m + 1;

{
  w in [-104, 89] /\
  x in [0.25, 104] /\ LN2 in [0.69314718055994530, 0.69314718055994531] /\
  z in [0, 0.3466] /\ m in [-0.3466, -0x1p-30]
  ->
  nw in [-150, 128] /\
  t - (x - n * HIGH) in [0, 0] /\        # the first step is exact
  |r| <= 0.3466 /\                       # the range of the polynomial
  |r - (x - n * LN2)| <= 0x1.01p-26 /\   # all but the last rounding of r is next to nothing
  |p0 - P| <= 0x1.71p-24 /\              # above 1 an ulp is 2^-23: 0.72 ulp
  |q0 - Q| <= 0x1.71p-25                 # below 1 it is 2^-24: 0.72 ulp
}

x * INVERSE ~ y;
y ~ n;
x - n * HIGH -> (x * INVERSE - n) * HIGH + x * (1 - INVERSE * HIGH);
x - n * LN2 -> (x * INVERSE - n) * LN2 + x * (1 - INVERSE * LN2);
r - (x - n * LN2) -> (r - (t - n * LOW)) + (t - (x - n * HIGH)) + n * (LN2 - (HIGH + LOW));
r -> (r - (x - n * LN2)) + (x - n * LN2);
$ z in 64;
$ m in 64;
