(* tensor.v - two loops of src/tensor.c, over the integers without bound.
   read_shape(): the product that leaves zeros out. What it accepts fits 63 bits whole and in every
   part; what it refuses would not have fitted. list_file(): spans that follow one another from the
   start to the end hold each byte exactly once. Chapter 3 of the book says what this leaves open. *)
Require Import ZArith Bool List Lia.
Import ListNotations.
Open Scope Z_scope.

Definition top : Z := 2 ^ 63.
Definition nz (d : Z) : Z := if d =? 0 then 1 else d.

(* The loop: None is "return -1", p is the variable `product`. *)
Fixpoint scan (p : Z) (dims : list Z) : option Z :=
  match dims with
  | [] => Some p
  | d :: rest => if d <? 0 then None else if p * nz d <? top then scan (p * nz d) rest else None
  end.

Fixpoint prod (dims : list Z) : Z := match dims with [] => 1 | d :: rest => d * prod rest end.

Definition bytes (size : Z) (dims : list Z) : option Z :=
  match scan size dims with
  | Some p => Some (if existsb (Z.eqb 0) dims then 0 else p)
  | None => None
  end.

(* Any choice of the dimensions, in their order. *)
Inductive part : list Z -> list Z -> Prop :=
| none : part [] []
| take d a b : part a b -> part (d :: a) (d :: b)
| leave d a b : part a b -> part a (d :: b).

Lemma nz_pos d : 0 <= d -> 1 <= nz d.
Proof. unfold nz. destruct (Z.eqb_spec d 0); lia. Qed.

Lemma scan_is_product dims : forall p q,
  scan p dims = Some q -> q = p * prod (map nz dims) /\ Forall (fun d => 0 <= d) dims.
Proof.
  induction dims as [| d rest IH]; cbn [scan prod map]; intros p q H.
  - injection H as <-. split; [lia | constructor].
  - destruct (Z.ltb_spec d 0); [discriminate |].
    destruct (p * nz d <? top); [| discriminate].
    apply IH in H as [-> F]. split; [ring | now constructor].
Qed.

Lemma scan_fits dims : forall p q, p < top -> scan p dims = Some q -> q < top.
Proof.
  induction dims as [| d rest IH]; cbn [scan]; intros p q P H.
  - injection H as <-. exact P.
  - destruct (d <? 0); [discriminate |].
    destruct (Z.ltb_spec (p * nz d) top); [eauto | discriminate].
Qed.

Lemma prod_pos dims : Forall (fun d => 0 <= d) dims -> 1 <= prod (map nz dims).
Proof. induction 1; cbn [prod map]; [lia |]. apply nz_pos in H. nia. Qed.

Lemma part_le a b : part a b -> Forall (fun d => 0 <= d) b ->
  1 <= prod (map nz a) <= prod (map nz b).
Proof.
  induction 1; cbn [prod map]; intros F; [lia | |]; inversion F; subst; specialize (IHpart H3);
    pose proof (nz_pos d H2); nia.
Qed.

(* The size in bytes is exact and fits. *)
Theorem bytes_exact size dims b : 1 <= size < top -> bytes size dims = Some b ->
  b = size * prod dims /\ 0 <= b < top.
Proof.
  unfold bytes. destruct (scan size dims) as [q |] eqn:S; [| discriminate]. intros B H.
  injection H as <-. pose proof (scan_fits _ _ _ (proj2 B) S).
  apply scan_is_product in S as [-> F]. pose proof (prod_pos _ F).
  assert (E : if existsb (Z.eqb 0) dims then prod dims = 0 else prod (map nz dims) = prod dims).
  { clear - F. induction F as [| d rest D F IH]; cbn [existsb prod map]; [reflexivity |].
    unfold nz at 1. destruct (Z.eqb_spec 0 d) as [<- | N]; cbn [orb]; [lia |].
    destruct (Z.eqb_spec d 0); [lia |]. destruct (existsb _ rest); nia. }
  destruct (existsb _ dims); [rewrite E; unfold top; lia | rewrite <- E; nia].
Qed.

(* The element size times any of the dimensions, zeros left out, fits: rows * cols of a later
   chapter does not overflow, even where another dimension is zero. *)
Theorem parts_fit size dims b some : 1 <= size < top -> bytes size dims = Some b ->
  part some dims -> size * prod (map nz some) < top.
Proof.
  unfold bytes. destruct (scan size dims) as [q |] eqn:S; [| discriminate]. intros B _ P.
  pose proof (scan_fits _ _ _ (proj2 B) S). apply scan_is_product in S as [-> F].
  pose proof (part_le _ _ P F). nia.
Qed.

(* Nothing else is refused. *)
Theorem refused_for_a_reason size dims : 1 <= size -> bytes size dims = None ->
  Exists (fun d => d < 0) dims \/ top <= size * prod (map nz dims).
Proof.
  unfold bytes. intros P H. assert (S : scan size dims = None) by (destruct (scan size dims); easy).
  clear H. revert size P S. induction dims as [| d rest IH]; cbn [scan prod map]; intros p P S; [discriminate |].
  destruct (Z.ltb_spec d 0); [left; now constructor |]. pose proof (nz_pos d H).
  destruct (Exists_dec (fun d => d < 0) rest) as [E | E];
    [intros x; destruct (Z_lt_dec x 0); auto | left; now constructor 2 |].
  right. assert (F : 1 <= prod (map nz rest)).
  { apply prod_pos. apply Forall_Exists_neg in E. revert E. apply Forall_impl. intros; lia. }
  destruct (Z.ltb_spec (p * nz d) top).
  - assert (1 <= p * nz d) by nia. destruct (IH _ H2 S); [contradiction | nia].
  - nia.
Qed.

(* Spans (begin, length), sorted; e is the variable `end`, Some t its last value. *)
Fixpoint chain (e : Z) (spans : list (Z * Z)) : option Z :=
  match spans with
  | [] => Some e
  | (a, n) :: rest => if a =? e then chain (e + n) rest else None
  end.

Definition holds (x : Z) (s : Z * Z) : Z :=
  if (fst s <=? x) && (x <? fst s + snd s) then 1 else 0.

Fixpoint count (x : Z) (spans : list (Z * Z)) : Z :=
  match spans with [] => 0 | s :: rest => holds x s + count x rest end.

Theorem each_byte_once spans : forall e t, Forall (fun s => 0 <= snd s) spans ->
  chain e spans = Some t -> e <= t /\ forall x, count x spans = if (e <=? x) && (x <? t) then 1 else 0.
Proof.
  induction spans as [| [a n] rest IH]; cbn [chain count]; intros e t F H.
  - injection H as <-. split; [lia |]. intros x.
    destruct (Z.leb_spec e x), (Z.ltb_spec x e); cbn; lia.
  - destruct (Z.eqb_spec a e); [subst | discriminate]. inversion F; subst; cbn [fst snd] in *.
    apply IH in H as [L C]; [| assumption]. split; [lia |]. intros x. rewrite C. unfold holds; cbn.
    destruct (Z.leb_spec e x), (Z.ltb_spec x (e + n)), (Z.leb_spec (e + n) x), (Z.ltb_spec x t); cbn; lia.
Qed.
