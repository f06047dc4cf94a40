(* optim.v - the integers of src/optim.c: the 192-bit sum of squares never overflows and is exact for
   any threads and order; what wide_root() drops is at most 2^-60 of it; and a level with its
   fraction never wraps and stays within 2^-17 (at the clamp 2^-16) of where the step put it. *)
Require Import ZArith Reals List Lia Lra.
From Flocq Require Import Core Sterbenz Mult_error.
Import ListNotations.
Open Scope Z_scope.

(* ---- wide: low < 2^128, high < 2^64; both wrap *)

Definition wide : Type := Z * Z.
Definition ok (w : wide) : Prop := 0 <= fst w < 2 ^ 128 /\ 0 <= snd w < 2 ^ 64.
Definition value (w : wide) : Z := fst w + 2 ^ 128 * snd w.

Definition wide_add (w : wide) (x : Z) : wide :=
  let low := (fst w + x) mod 2 ^ 128 in (low, (snd w + if low <? x then 1 else 0) mod 2 ^ 64).
(* The critical section of gradient_norm(). *)
Definition combine (all own : wide) : wide :=
  let w := wide_add all (fst own) in (fst w, (snd w + snd own) mod 2 ^ 64).

Lemma wrap_high l h : 0 <= l < 2 ^ 128 ->
  ok (l, h mod 2 ^ 64) /\ value (l, h mod 2 ^ 64) = (l + 2 ^ 128 * h) mod 2 ^ 192.
Proof.
  intro L. unfold ok, value. cbn [fst snd]. pose proof (Z.mod_pos_bound h (2 ^ 64) eq_refl).
  split; [lia |]. apply Z.mod_unique with (q := h / 2 ^ 64); [lia |].
  pose proof (Z.div_mod h (2 ^ 64) ltac:(lia)). lia.
Qed.

Lemma add_mod w x : ok w -> 0 <= x < 2 ^ 128 ->
  ok (wide_add w x) /\ value (wide_add w x) = (value w + x) mod 2 ^ 192.
Proof.
  destruct w as [l h]. intros [L H] X. unfold wide_add, value at 2. cbn [fst snd] in *.
  assert (C : (l + x) mod 2 ^ 128 = l + x - 2 ^ 128 * (if (l + x) mod 2 ^ 128 <? x then 1 else 0)).
  { destruct (Z.lt_ge_cases (l + x) (2 ^ 128)) as [S | S].
    - rewrite Z.mod_small by lia. destruct (Z.ltb_spec (l + x) x); lia.
    - replace ((l + x) mod 2 ^ 128) with (l + x - 2 ^ 128)
        by (apply Z.mod_unique with (q := 1); lia).
      destruct (Z.ltb_spec (l + x - 2 ^ 128) x); lia. }
  set (c := if _ <? x then 1 else 0) in *. pose proof (Z.mod_pos_bound (l + x) (2 ^ 128) eq_refl) as B.
  destruct (wrap_high _ (h + c) B) as [O V]. split; [exact O |]. rewrite V, C. f_equal. lia.
Qed.

Lemma combine_mod a o : ok a -> ok o ->
  ok (combine a o) /\ value (combine a o) = (value a + value o) mod 2 ^ 192.
Proof.
  intros A [L H]. unfold combine. destruct (add_mod a (fst o) A L) as [[B C] V].
  destruct (wide_add a (fst o)) as [l h]. cbn [fst snd] in *.
  destruct (wrap_high l (h + snd o) B) as [O W]. split; [exact O |]. rewrite W.
  replace (l + 2 ^ 128 * (h + snd o)) with (value (l, h) + 2 ^ 128 * snd o)
    by (unfold value; cbn [fst snd]; lia).
  rewrite V, Zplus_mod_idemp_l. f_equal. unfold value. lia.
Qed.

Definition sum : list Z -> Z := fold_right Z.add 0.
Definition squares (l : list Z) : Z := sum (map (fun x => x * x) l).
Definition own_sum (l : list Z) : wide := fold_left (fun w x => wide_add w (x * x)) l (0, 0).
Definition norm2 (threads : list (list Z)) : wide :=
  fold_left (fun w t => combine w (own_sum t)) threads (0, 0).
Definition fits (x : Z) : Prop := Z.abs x <= 2 ^ 63.

Lemma square_fits x : fits x -> 0 <= x * x <= 2 ^ 126.
Proof. unfold fits. nia. Qed.

(* A loop of steps that each add size a modulo 2^192. *)
Lemma loop_mod {A} step (size : A -> Z) (good : A -> Prop) : (forall w a, ok w -> good a ->
    ok (step w a) /\ value (step w a) = (value w + size a) mod 2 ^ 192) ->
  forall l, Forall good l ->
  ok (fold_left step l (0, 0)) /\ value (fold_left step l (0, 0)) = sum (map size l) mod 2 ^ 192.
Proof.
  intros Step l G. change (sum (map size l)) with (value (0, 0) + sum (map size l)).
  assert (O : ok (0, 0)) by (unfold ok; cbn [fst snd]; lia).
  revert O. generalize (0, 0). induction G as [| a l H G IH]; intros w O; cbn [fold_left map sum fold_right].
  - split; [exact O |]. destruct O. unfold value. rewrite Z.mod_small; lia.
  - destruct (Step w a O H) as [P V], (IH _ P) as [Q W].
    split; [exact Q |]. rewrite W, V, Zplus_mod_idemp_l. f_equal. unfold sum. lia.
Qed.

Lemma own_mod l : Forall fits l -> ok (own_sum l) /\ value (own_sum l) = squares l mod 2 ^ 192.
Proof.
  apply loop_mod. intros w x O X. apply add_mod; [exact O |]. pose proof (square_fits x X). lia.
Qed.

Lemma norm2_mod threads : Forall (Forall fits) threads ->
  ok (norm2 threads) /\ value (norm2 threads) = sum (map squares threads) mod 2 ^ 192.
Proof.
  apply loop_mod. intros w t O T. destruct (own_mod t T) as [P V], (combine_mod w _ O P) as [Q W].
  split; [exact Q |]. now rewrite W, V, Zplus_mod_idemp_r.
Qed.

Lemma squares_concat threads : sum (map squares threads) = squares (concat threads).
Proof.
  induction threads as [| t threads IH]; [reflexivity |].
  change (squares t + sum (map squares threads) = squares (t ++ concat threads)).
  rewrite IH. clear IH. unfold squares.
  induction t; cbn [app map sum fold_right] in *; lia.
Qed.

(* Fewer than 2^66 int64 values, dealt to any threads in any order: the sum is exact. *)
Theorem norm_exact threads : Forall (Forall fits) threads ->
  Z.of_nat (length (concat threads)) < 2 ^ 66 ->
  ok (norm2 threads) /\ value (norm2 threads) = squares (concat threads).
Proof.
  intros F N. destruct (norm2_mod threads F) as [O V]. split; [exact O |].
  rewrite V, squares_concat. apply Z.mod_small. apply Forall_concat in F.
  assert (0 <= squares (concat threads) <= Z.of_nat (length (concat threads)) * 2 ^ 126); [| lia].
  clear -F. unfold squares. induction F as [| x l X F IH]; cbn [length map sum fold_right] in *; [lia |].
  pose proof (square_fits x X). rewrite Nat2Z.inj_succ. lia.
Qed.

(* ---- wide_root() *)

(* x.low >> 2 | (x.high & 3) << 126: the two parts share no bit, so the or is a sum. *)
Definition quarter (w : wide) : wide := (fst w / 4 + 2 ^ 126 * (snd w mod 4), snd w / 4).

Lemma quarter_div w : ok w -> ok (quarter w) /\ value (quarter w) = value w / 4.
Proof.
  destruct w as [l h]. unfold ok, quarter, value. cbn [fst snd]. intros [L H].
  pose proof (Z.div_mod l 4 ltac:(lia)). pose proof (Z.mod_pos_bound l 4 eq_refl).
  pose proof (Z.div_mod h 4 ltac:(lia)). pose proof (Z.mod_pos_bound h 4 eq_refl).
  split; [lia |]. apply Z.div_unique with (r := l mod 4); lia.
Qed.

(* The condition of the loop is value >= 2^62; n rounds at most. *)
Fixpoint drop (n : nat) (w : wide) (shift : Z) : wide * Z :=
  match n with
  | O => (w, shift)
  | S n => if ((snd w =? 0) && (fst w / 2 ^ 62 =? 0))%bool then (w, shift)
           else drop n (quarter w) (shift + 1)
  end.

(* After at most 65 rounds the rest fits 62 bits, and what was dropped is at most 2^-60 of w. *)
Theorem root_loop w : ok w -> let (x, s) := drop 65 w 0 in
  0 <= value x < 2 ^ 62 /\ 0 <= s <= 65 /\ value x = value w / 4 ^ s /\
  0 <= 2 ^ 60 * (value w - value x * 4 ^ s) <= value w.
Proof.
  intro O.
  assert (G : forall n x s, ok x -> 0 <= s -> value x = value w / 4 ^ s ->
    value x < 4 ^ (Z.of_nat n + 31) -> (s = 0 \/ 2 ^ 60 <= value x) ->
    let (y, t) := drop n x s in 0 <= value y < 2 ^ 62 /\ s <= t <= s + Z.of_nat n /\
      value y = value w / 4 ^ t /\ (t = 0 \/ 2 ^ 60 <= value y)).
  { induction n as [| n IH]; intros x s X K V B T; cbn [drop].
    - change (4 ^ (Z.of_nat 0 + 31)) with (2 ^ 62) in B. destruct X. unfold value in *. lia.
    - assert (C : ((snd x =? 0) && (fst x / 2 ^ 62 =? 0))%bool = (value x <? 2 ^ 62)).
      { destruct X. unfold value. pose proof (Z.div_mod (fst x) (2 ^ 62) ltac:(lia)).
        pose proof (Z.mod_pos_bound (fst x) (2 ^ 62) eq_refl).
        destruct (Z.eqb_spec (snd x) 0), (Z.eqb_spec (fst x / 2 ^ 62) 0),
          (Z.ltb_spec (fst x + 2 ^ 128 * snd x) (2 ^ 62)); cbn [andb]; lia. }
      rewrite C. destruct (Z.ltb_spec (value x) (2 ^ 62)) as [D | D].
      + destruct X. unfold value in *. lia.
      + destruct (quarter_div x X) as [Q W].
        replace (Z.of_nat (S n) + 31) with (Z.succ (Z.of_nat n + 31)) in B by lia.
        rewrite Z.pow_succ_r in B by lia.
        specialize (IH (quarter x) (s + 1) Q ltac:(lia)). rewrite W in IH.
        assert (value x / 4 < 4 ^ (Z.of_nat n + 31)) by (apply Z.div_lt_upper_bound; lia).
        assert (2 ^ 60 <= value x / 4) by (apply Z.div_le_lower_bound; lia).
        assert (E : value x / 4 = value w / 4 ^ (s + 1)).
        { rewrite V, Z.pow_add_r, Z.pow_1_r, Z.div_div by lia. reflexivity. }
        specialize (IH E H (or_intror H0)). destruct (drop n (quarter x) (s + 1)). lia. }
  specialize (G 65%nat w 0 O ltac:(lia)). change (4 ^ 0) with 1 in G. rewrite Z.div_1_r in G.
  assert (value w < 4 ^ (Z.of_nat 65 + 31))
    by (destruct O; change (4 ^ _) with (2 ^ 192); unfold value; lia).
  specialize (G eq_refl H (or_introl eq_refl)). destruct (drop 65 w 0) as [x s].
  destruct G as [A [B [C D]]]. assert (P : 0 < 4 ^ s) by (apply Z.pow_pos_nonneg; lia).
  pose proof (Z.div_mod (value w) (4 ^ s) ltac:(lia)) as M. pose proof (Z.mod_pos_bound (value w) _ P).
  rewrite <- C in M. repeat split; try lia.
  destruct D as [-> | D]; [change (4 ^ 0) with 1 in *; lia | nia].
Qed.

(* ---- move_level(), from the clamped p on; binary32 to nearest even without an upper end *)

Notation F := (FLT_exp (-149) 24).
#[local] Instance prec : Prec_gt_0 24 := eq_refl.
Definition float (x : R) : Prop := generic_format radix2 F x.
Definition rnd : R -> R := round radix2 F ZnearestE.

Lemma small_integer n : Z.abs n < 2 ^ 24 -> float (IZR n).
Proof.
  intro N. apply generic_format_FLT, (FLT_spec _ _ _ _ (Float radix2 n 0)); cbn [Fnum Fexp];
    [| exact N | lia].
  unfold F2R. cbn [Fnum Fexp bpow]. ring.
Qed.

Lemma half x : (Rabs (x - IZR (ZnearestE x)) <= / 2)%R.
Proof. apply Znearest_half. Qed.

(* Sterbenz, except where whole is 0. *)
Lemma sub_exact p : float p -> (Rabs p <= 127)%R -> float (p - IZR (ZnearestE p)).
Proof.
  intros P B. pose proof (half p) as D. apply Rabs_le_inv in B, D. set (w := ZnearestE p) in *.
  assert (W : -128 < w < 128) by (split; apply lt_IZR; lra).
  destruct (Z.lt_trichotomy w 0) as [S | [S | S]].
  - assert (S' : w <= -1) by lia. apply IZR_le in S'.
    replace (p - IZR w)%R with (- (- p - IZR (- w)))%R by (rewrite opp_IZR; ring).
    apply generic_format_opp, (sterbenz radix2 F);
      [now apply generic_format_opp | apply small_integer; lia |].
    rewrite opp_IZR. lra.
  - rewrite S. replace (p - 0)%R with p by ring. exact P.
  - assert (S' : 1 <= w) by lia. apply IZR_le in S'.
    apply (sterbenz radix2 F); [exact P | apply small_integer; lia | lra].
Qed.

Theorem move_level p : float p -> (Rabs p <= 127)%R ->
  let whole := ZnearestE p in
  let f := ZnearestE (rnd (rnd (p - IZR whole) * 65536)) in
  let frac := Z.min f 32767 in
  -127 <= whole <= 127 /\ -32768 <= frac <= 32767 /\
  (Rabs (IZR whole + IZR frac / 65536 - p) <= / 65536)%R /\
  (f <= 32767 -> (Rabs (IZR whole + IZR frac / 65536 - p) <= / 131072)%R).
Proof.
  intros P B whole f frac. assert (X : float (p - IZR whole)) by now apply sub_exact.
  assert (E : f = ZnearestE ((p - IZR whole) * 65536)).
  { unfold f, rnd. rewrite (round_generic radix2 F ZnearestE (p - IZR whole)) by exact X.
    rewrite round_generic; [reflexivity | typeclasses eauto |].
    exact (mult_bpow_pos_exact_FLT radix2 (-149) 24 _ 16 X ltac:(lia)). }
  pose proof (half p) as D. fold whole in D. pose proof (half ((p - IZR whole) * 65536)) as G.
  rewrite <- E in G. clearbody f whole. apply Rabs_le_inv in B, D, G.
  assert (W : -128 < whole < 128) by (split; apply lt_IZR; lra).
  assert (V : -32769 < f < 32769) by (split; apply lt_IZR; lra).
  unfold frac. destruct (Z.min_spec f 32767) as [[M ->] | [M ->]].
  - repeat split; try lia; [| intros _]; apply Rabs_le; lra.
  - assert (C : f = 32767 \/ f = 32768) by lia.
    destruct C as [-> | ->]; repeat split; try lia; try (intro; try lia); apply Rabs_le; lra.
Qed.

(* The next step reads exactly what was stored: both operations of level + frac 2^-16 are exact. *)
Theorem read_back level frac : -128 <= level <= 127 -> -32768 <= frac <= 32767 ->
  rnd (IZR level + rnd (IZR frac * / 65536)) = (IZR level + IZR frac * / 65536)%R.
Proof.
  intros L R. assert (S : forall n, Z.abs n < 2 ^ 24 -> float (IZR n * / 65536)).
  { intros n N. apply generic_format_FLT, (FLT_spec _ _ _ _ (Float radix2 n (-16)));
      [reflexivity | exact N | cbn [Fexp]; lia]. }
  unfold rnd. rewrite (round_generic radix2 F ZnearestE (IZR frac * / 65536)) by (apply S; lia).
  apply round_generic; [typeclasses eauto |].
  replace (IZR level + IZR frac * / 65536)%R with (IZR (level * 65536 + frac) * / 65536)%R
    by (rewrite plus_IZR, mult_IZR; field). apply S. lia.
Qed.

Print Assumptions norm_exact.
Print Assumptions root_loop.
Print Assumptions move_level.
